package chunkstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/chunkstore/stripe"
)

// RepairObject mends one object, by its full name: it reads every cell and, if parity brings any of them back, writes
// the object afresh in the place of the old one. What is lost stays lost and detectable. A config is mended from its
// spare, and the other way round. The Check tells what was found before, and Repaired whether something was written;
// on an object that is whole nothing is.
//
// The memory it takes is the object's size.
func (s *Store) RepairObject(ctx context.Context, name string) (Check, error) {
	t, known := typeOf(name)
	if !known {
		return Check{Object: name, Foreign: true}, nil
	}
	if t == TypeConfig {
		return s.repairConfig(ctx, name)
	}
	c := Check{Object: name}
	p, err := s.locate(ctx, t, name)
	if errors.Is(err, destination.ErrNotFound) {
		c.Missing = true
		return c, nil
	}
	if err != nil {
		return s.note(ctx, c, err)
	}
	c.Size = p.size
	report, err := p.reader().Check(ctx, nil)
	if err != nil {
		return c, fmt.Errorf("repair %s: %w", name, err)
	}
	c.take(report)
	if report.Bad == report.Lost && p.size == p.layout.Size() {
		return c, nil // whole, or nothing that parity brings back
	}
	if err := s.rebuild(ctx, p, report); err != nil {
		return c, fmt.Errorf("repair %s: %w", name, err)
	}
	if id, ok := ParsePackID(name); ok {
		s.packs.drop(id)
	}
	c.Repaired, c.Size = true, p.layout.Size()
	return c, nil
}

// rebuild writes the mended object in the place of the damaged one, unless reading it again brings more damage to light
// than was found: on a medium that fails just now the old object may still be worth more than what could be read.
func (s *Store) rebuild(ctx context.Context, p *placed, found stripe.Report) error {
	var mended bytes.Buffer
	mended.Grow(int(p.layout.Size()))
	report, err := p.reader().Rebuild(ctx, &mended)
	if err != nil {
		return err
	}
	if report.Lost > found.Lost {
		return fmt.Errorf("%w: %d cells were lost when it was read first, and %d when it was read again; nothing was written",
			ErrDamaged, found.Lost, report.Lost)
	}
	if p.spread != nil {
		return p.spread.write(ctx, mended.Bytes(), p.layout, s.replace)
	}
	return s.replace(ctx, p.name, mended.Bytes())
}

// repairConfig writes the config, or its spare, if it is not byte for byte what it should be.
func (s *Store) repairConfig(ctx context.Context, name string) (Check, error) {
	c, err := s.CheckObject(ctx, name, true)
	if err != nil || c.OK() {
		return c, err
	}
	payload, err := s.configPayload(ctx)
	if err != nil {
		return c, fmt.Errorf("repair %s: %w", name, err)
	}
	object := stripe.Encode(payload, configShape(s.config.Shape), configSeed())
	if err := s.replace(ctx, name, object); err != nil {
		return c, fmt.Errorf("repair %s: %w", name, err)
	}
	c.Repaired, c.Size = true, int64(len(object))
	return c, nil
}

// configPayload gets the config's payload from whichever object still has it, or makes it again.
func (s *Store) configPayload(ctx context.Context) ([]byte, error) {
	for _, name := range []string{configName, spareName} {
		payload, err := readPayload(ctx, s.dest, name, configSeed(), maxConfig)
		if err == nil && checkConfig(payload, s.master) == nil {
			return payload, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return encodeConfig(s.config, s.master)
}
