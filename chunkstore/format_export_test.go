package chunkstore

import (
	"fmt"

	"github.com/cairn-backup/cairn/chunkstore/chunker"
	"github.com/cairn-backup/cairn/chunkstore/frame"
	"github.com/cairn-backup/cairn/chunkstore/stripe"
)

// FormatNumbers are the code's numbers that FORMAT.md tells.
func FormatNumbers() map[string]string {
	numbers := map[string]string{
		"magic": magic, "trailer magic": trailerMagic, "chunker": chunkerName, "encryption": encryptionGCM, "no encryption": encryptionNone,
		"default shape": DefaultShape.String(),
	}
	for name, n := range map[string]int{
		"format version": FormatVersion, "object version": objectVersion, "table version": tableVersion,
		"cell size": stripe.CellSize, "cell head size": stripe.HeadSize, "cell content size": stripe.ContentSize,
		"most data shards": stripe.MaxData, "most parity shards": stripe.MaxParity, "most rows": stripe.MaxRows,
		"header size": headerSize, "config MAC size": configMAC, "check size": checkSize, "most bytes of a small object": maxObject,
		"shortest body that is compressed": worthCompressing,
		"pack head size":                   packHeadSize, "pack trailer size": packTrailerSize, "most bytes of a pack's payload": maxPackPayload,
		"frame head size": frame.HeadSize, "most bytes of an opened frame": frame.MaxPlain,
		"flag compressed": flagCompressed, "flag sealed": flagSealed, "kind data": int(KindData), "kind tree": int(KindTree),
		"type config": int(TypeConfig), "type key": int(TypeKey), "type pack": int(TypePack), "type index": int(TypeIndex), "type point": int(TypePoint),
		"type session": int(TypeSession), "type tombstone": int(TypeTombstone), "type ledger": int(TypeLedger), "type mark": int(TypeMark),
		"default chunk minimum": chunker.Default.Min, "default chunk average": chunker.Default.Avg, "default chunk maximum": chunker.Default.Max,
	} {
		numbers[name] = fmt.Sprint(n)
	}
	return numbers
}
