"""Random sequences of what operators and machines do, on two real Engines, checked at each step."""
