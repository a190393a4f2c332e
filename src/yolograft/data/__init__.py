"""Data sets: conversion of Pascal VOC sets such as NEU-DET, and a procedural set of steel defects."""
