"""Many runs: compare, tune, reproduce, report."""
