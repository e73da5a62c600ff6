"""What is known of each tower on disk: its shapes, its released configs, its words, and how it is recognised."""
