"""Training: recipes, supervised fine-tuning, GRPO."""
