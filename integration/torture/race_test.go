//go:build race && linux

package main

// The program under test looks for races too, when the tests do.
func init() { buildFlags = append(buildFlags, "-race") }
