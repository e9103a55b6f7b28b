"""How results are summed up and shown, whatever they are of: statistics, charts, pictures, pages."""
