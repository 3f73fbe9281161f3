package engine

// InSegments makes a backup take directories n names at a time.
func InSegments(o BackupOptions, n int) BackupOptions {
	o.segment = n
	return o
}
