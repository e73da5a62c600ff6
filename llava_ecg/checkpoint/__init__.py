"""Models on disk: found, described, opened tensor by tensor, and told about. Knows no network; torch enters where
tensors do."""
