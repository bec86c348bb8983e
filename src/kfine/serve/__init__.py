"""The workbench: a local web page to restore images and to look at them.  Needs the extra `serve`."""
