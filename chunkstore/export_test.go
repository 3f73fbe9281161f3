package chunkstore

// SeedForTest lets tests make good cells around bad bytes.
func (s *Store) SeedForTest(fullName string) uint64 { return s.seed(fullName) }

// ConfigSeedForTest is the seed of the config's cells.
func ConfigSeedForTest() uint64 { return configSeed() }
