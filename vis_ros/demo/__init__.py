"""`vis-ros demo`: a synthetic camera and the node as two processes, recorded and measured by a third."""
