"""How fast it runs, where the time goes, and how that grows: `vis-ros benchmark`."""
