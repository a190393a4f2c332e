"""Data sets: conversion from Pascal VOC (NEU-DET first), and the embedded procedural steel set."""
