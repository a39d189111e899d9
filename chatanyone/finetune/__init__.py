"""Fine-tuning on one person: from raw films to better weights."""
