"""Engines run a detector with OpenVINO, TensorRT or torch; `vis_ros.engines.loading.load_engine` chooses one."""
