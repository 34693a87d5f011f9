"""Control over time: what a control slide's sessions measure, and the laboratory's limits made of them."""
