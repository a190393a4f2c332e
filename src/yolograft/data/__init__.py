"""Data sets: conversion from Pascal VOC, COCO and LabelMe, a check in place, and a procedural set of steel defects."""
