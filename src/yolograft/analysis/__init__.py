"""Analysis of grafted models: parameters, GFLOPs, memory, latency, and tables of their structure."""
