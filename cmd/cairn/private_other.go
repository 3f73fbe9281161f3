//go:build !linux

package main

// keepMemoryPrivate does nothing here: what the system does with a crashed process is the system's setting.
func keepMemoryPrivate() {}
