"""The user module of the Trainer component: model, training and export."""
