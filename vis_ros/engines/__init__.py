"""How a network is run. `vis_ros.engines.loading.load_engine` chooses; nothing is imported before it is needed."""
