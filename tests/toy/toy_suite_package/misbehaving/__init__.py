"""Methods that do what no method should, each with the ending that the engine promises for it."""
