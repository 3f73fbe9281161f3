package engine

// CheckName is checkName, for the tests of the package's outside.
var CheckName = checkName
