"""The whole: pipeline, reports, command line. The only room that knows all the others."""
