"""What the Trainer component runs, and what it exports."""
