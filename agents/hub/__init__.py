"""Trained policies on the Hugging Face Hub: their model card, upload, download."""
