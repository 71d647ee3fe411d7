"""The command line `vis-ros`: one thin function a command. What is heavy is imported where it is used."""
