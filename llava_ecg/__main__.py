"""``python -m llava_ecg`` is ``llava-ecg``."""

from __future__ import annotations

from llava_ecg.cli import main

raise SystemExit(main())
