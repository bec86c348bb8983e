"""How models are made: data, objective, loop."""
