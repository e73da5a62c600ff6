"""Evaluation: questions with known answers, what a model's words say of them, and figures with intervals.

`parsers` and `scorers` (with `intervals`, `judged` and `measured`) are plain functions and need no harness; `tasks` is
the table of tasks; `provider`, `harness` and `runs` are the only modules that know inspect_ai, which the extra ``eval``
brings.
"""
