package index

import "testing"

func TestForeignNamesAreToldFromOurs(t *testing.T) {
	const random = "0123456789abcdef0123456789abcdef"
	for name, foreign := range map[string]bool{
		"points/" + recordName(7):                    false,
		"points/notes.txt":                           true,
		"points/7":                                   true,
		"index/" + random:                            false,
		"index/" + random + ".bak":                   true,
		"sessions/" + (&markers{id: random}).name(3): false,
		"sessions/" + random:                         true,
		"packs/ab/whatever":                          false,
		"README":                                     false,
	} {
		if got := Foreign(name); got != foreign {
			t.Errorf("Foreign(%q) = %v", name, got)
		}
	}
}
