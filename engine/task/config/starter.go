package config

import _ "embed"

//go:embed starter.toml
var starter string

// Starter is a commented configuration to begin with. It can be loaded as it is, and names every key there is.
func Starter() string { return starter }
