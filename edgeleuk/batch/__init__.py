"""Many pictures: judged by processes or a cluster, recorded in a results file that can be gone on with."""
