"""The ground of the system: what a tensor holds, how operations are applied and differentiated."""
