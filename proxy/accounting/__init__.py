"""L2: what requests consumed and how upstreams did."""
