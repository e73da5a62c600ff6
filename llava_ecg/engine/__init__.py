"""What runs a language model fast: embeddings in, ids or losses out. It knows no tokenizer and no ECG."""
