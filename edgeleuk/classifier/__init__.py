"""What a cell is: the network with its decision rules, the checks for foreign cells, the self-test."""
