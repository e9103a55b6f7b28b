"""The network on paper: what a budget buys, how many weights each block gets, where they lie and how they begin."""
