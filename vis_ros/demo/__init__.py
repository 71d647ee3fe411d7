"""`vis-ros demo`: a camera process and the node as two real processes over DDS, recorded and measured by a third."""
