"""How lvray's own weights are made, and what they can do: make.py, judge.py; LOOKS.md is the log of looks at real
patients."""
