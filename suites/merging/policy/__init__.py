"""The Decision Transformer: model, training, evaluation, and the language model to start from."""
