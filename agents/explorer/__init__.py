"""The network explorer: a page on which budget and hidden proportion are moved and the network follows."""
