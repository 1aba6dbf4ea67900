"""From a person with a board to the first word: ports, models, terminals, programmers."""
