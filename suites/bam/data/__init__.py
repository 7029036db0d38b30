"""The texts: where they come from, and the tokens that are made of them."""
