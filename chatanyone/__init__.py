"""The application: joins motion and render; owns files, time, network and the command line."""
