from setuptools import setup  # everything else is in setup.cfg; pip needs this file to find it

setup()
