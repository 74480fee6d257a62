// Command interop verifies an exported log with code that is not ours: Go's golang.org/x/mod/sumdb/note and tlog.
//
//	interop log DIR POLICY          checkpoint, cosignatures, quorum, every tile, every bundle, proofs made by Go
//	interop proof FILE POLICY       a tlog-proof file: leaf, inclusion, checkpoint, quorum
//	interop consistency < LINES     proofs that we made: old size, old root, new size, new root, hashes; one a line
//
// It prints one line of JSON. Exit code 1: something does not hold, and standard error says what.
package main

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	height      = 8
	entryBytes  = 32
	cosignature = 4
)

func main() {
	found, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		os.Exit(1)
	}
}

func run(args []string) (map[string]any, error) {
	switch {
	case len(args) == 3 && args[0] == "log":
		return verifyLog(args[1], args[2])
	case len(args) == 3 && args[0] == "proof":
		return verifyProof(args[1], args[2])
	case len(args) == 1 && args[0] == "consistency":
		return verifyConsistency()
	}
	return nil, errors.New("usage: interop log DIR POLICY | proof FILE POLICY | consistency")
}

// --- Keys and policy ----------------------------------------------------------------------------

// cosigner verifies timestamped Ed25519 cosignatures (tlog-cosignature, type 0x04); it is a note.Verifier.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (c *cosigner) Name() string    { return c.name }
func (c *cosigner) KeyHash() uint32 { return c.hash }

func (c *cosigner) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	time := binary.BigEndian.Uint64(sig)
	signed := fmt.Sprintf("cosignature/v1\ntime %d\n%s", time, msg)
	return ed25519.Verify(c.key, []byte(signed), sig[8:])
}

// newCosigner reads a verifier key `<name>+<key ID>+<base64(0x04 || key)>`.
func newCosigner(text string) (note.Verifier, error) {
	parts := strings.SplitN(text, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("malformed witness key")
	}
	material, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(material) != 1+ed25519.PublicKeySize || material[0] != cosignature {
		return nil, errors.New("not a cosignature key")
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), material...))
	hash := binary.BigEndian.Uint32(sum[:])
	if parts[1] != fmt.Sprintf("%08x", hash) {
		return nil, errors.New("the key ID is not the key's")
	}
	return &cosigner{parts[0], hash, material[1:]}, nil
}

type group struct {
	needed  int
	members []string
}

// policy is what a tlog-policy file says.
type policy struct {
	logs      map[string]note.Verifier // by origin
	witnesses map[string]note.Verifier // by their names in the policy
	groups    map[string]group
	order     []string
	quorum    string
}

func readPolicy(path string) (*policy, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p := &policy{map[string]note.Verifier{}, map[string]note.Verifier{}, map[string]group{}, nil, ""}
	for _, line := range strings.Split(string(data), "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if err := p.read(fields); err != nil {
			return nil, fmt.Errorf("policy line %q: %w", line, err)
		}
	}
	return p, nil
}

func (p *policy) read(fields []string) error {
	switch {
	case fields[0] == "log" && len(fields) >= 2:
		verifier, err := note.NewVerifier(fields[1])
		if err != nil {
			return err
		}
		p.logs[verifier.Name()] = verifier
	case fields[0] == "witness" && len(fields) >= 3:
		verifier, err := newCosigner(fields[2])
		if err != nil {
			return err
		}
		p.witnesses[fields[1]] = verifier
	case fields[0] == "group" && len(fields) >= 4:
		members := fields[3:]
		needed, err := strconv.Atoi(fields[2])
		if fields[2] == "any" {
			needed, err = 1, nil
		} else if fields[2] == "all" {
			needed, err = len(members), nil
		}
		if err != nil {
			return err
		}
		p.groups[fields[1]] = group{needed, members}
		p.order = append(p.order, fields[1])
	case fields[0] == "quorum" && len(fields) == 2:
		p.quorum = fields[1]
	default:
		return errors.New("unknown line")
	}
	return nil
}

func (p *policy) satisfied(cosigned map[string]bool) bool {
	reached := map[string]bool{}
	for name := range cosigned {
		reached[name] = true
	}
	for _, name := range p.order {
		count := 0
		for _, member := range p.groups[name].members {
			if reached[member] {
				count++
			}
		}
		reached[name] = count >= p.groups[name].needed
	}
	return p.quorum == "none" || reached[p.quorum]
}

// --- Checkpoint ---------------------------------------------------------------------------------

type checkpoint struct {
	origin    string
	tree      tlog.Tree
	cosigners int
}

func openCheckpoint(data []byte, p *policy) (*checkpoint, error) {
	verifiers := []note.Verifier{}
	for _, verifier := range p.logs {
		verifiers = append(verifiers, verifier)
	}
	for _, verifier := range p.witnesses {
		verifiers = append(verifiers, verifier)
	}
	opened, err := note.Open(data, note.VerifierList(verifiers...))
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 {
		return nil, errors.New("checkpoint: too few lines")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	log, ok := p.logs[lines[0]]
	if !ok {
		return nil, errors.New("checkpoint: unknown origin")
	}
	signed, cosigned := false, map[string]bool{}
	for _, made := range opened.Sigs {
		signed = signed || (made.Name == log.Name() && made.Hash == log.KeyHash())
		for name, witness := range p.witnesses {
			if made.Name == witness.Name() && made.Hash == witness.KeyHash() {
				cosigned[name] = true
			}
		}
	}
	if !signed {
		return nil, errors.New("checkpoint: not signed by its log")
	}
	if !p.satisfied(cosigned) {
		return nil, fmt.Errorf("checkpoint: %d cosignatures are no quorum", len(cosigned))
	}
	return &checkpoint{lines[0], tlog.Tree{N: size, Hash: root}, len(cosigned)}, nil
}

// --- Log ----------------------------------------------------------------------------------------

// folder reads tiles of height 8 from files; it is a tlog.TileReader.
type folder string

func (f folder) path(t tlog.Tile) string {
	// Go's own paths name the height, and have "data" for entries.
	path := strings.TrimPrefix(t.Path(), fmt.Sprintf("tile/%d/", t.H))
	return filepath.Join(string(f), "tile", strings.Replace(path, "data/", "entries/", 1))
}

func (f folder) Height() int { return height }

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	found := make([][]byte, len(tiles))
	for i, tile := range tiles {
		data, err := os.ReadFile(f.path(tile))
		if err != nil {
			return nil, err
		}
		found[i] = data
	}
	return found, nil
}

func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

func verifyLog(dir, policyFile string) (map[string]any, error) {
	p, err := readPolicy(policyFile)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return nil, err
	}
	final, err := openCheckpoint(data, p)
	if err != nil {
		return nil, err
	}
	tree := final.tree
	reader := tlog.TileHashReader(tree, folder(dir)) // every hash that it gives leads to the root
	tiles, bundles := 0, 0
	all := tlog.NewTiles(height, 0, tree.N)
	for i, tile := range all {
		if i+1 < len(all) && all[i+1].L == tile.L && all[i+1].N == tile.N {
			continue // Go names partial tiles of every width; a folder has the widest
		}
		if err := checkTile(folder(dir), tile, reader); err != nil {
			return nil, err
		}
		tiles++
		if tile.L == 0 {
			tile.L = -1
			if err := checkBundle(folder(dir), tile, reader); err != nil {
				return nil, err
			}
			bundles++
		}
	}
	if err := prove(tree, reader); err != nil {
		return nil, err
	}
	return map[string]any{
		"origin": final.origin, "size": tree.N, "cosigners": final.cosigners, "tiles": tiles, "bundles": bundles,
	}, nil
}

func checkTile(dir folder, tile tlog.Tile, reader tlog.HashReader) error {
	derived, err := tlog.ReadTileData(tile, reader)
	if err != nil {
		return fmt.Errorf("%s: %w", dir.path(tile), err)
	}
	served, err := os.ReadFile(dir.path(tile))
	if err != nil || !bytes.Equal(derived, served) {
		return fmt.Errorf("%s is not the tile of the tree", dir.path(tile))
	}
	return nil
}

func checkBundle(dir folder, tile tlog.Tile, reader tlog.HashReader) error {
	data, err := os.ReadFile(dir.path(tile))
	if err != nil {
		return err
	}
	if len(data) != tile.W*(2+entryBytes) {
		return fmt.Errorf("%s has a wrong length", dir.path(tile))
	}
	indexes := make([]int64, tile.W)
	for i := range indexes {
		indexes[i] = tlog.StoredHashIndex(0, tile.N<<height+int64(i))
	}
	hashes, err := reader.ReadHashes(indexes)
	if err != nil {
		return err
	}
	for i, hash := range hashes {
		record := data[i*(2+entryBytes) : (i+1)*(2+entryBytes)]
		if binary.BigEndian.Uint16(record) != entryBytes || tlog.RecordHash(record[2:]) != hash {
			return fmt.Errorf("entry %d in %s is not that of the tree", tile.N<<height+int64(i), dir.path(tile))
		}
	}
	return nil
}

// prove makes and checks proofs from the tiles: of some entries, and from some earlier sizes.
func prove(tree tlog.Tree, reader tlog.HashReader) error {
	for _, index := range []int64{0, 1, 255, 256, 257, tree.N / 2, tree.N - 2, tree.N - 1} {
		if index < 0 || index >= tree.N {
			continue
		}
		proof, err := tlog.ProveRecord(tree.N, index, reader)
		if err != nil {
			return err
		}
		hashes, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, hashes[0]); err != nil {
			return fmt.Errorf("inclusion of %d: %w", index, err)
		}
	}
	for _, old := range []int64{1, 2, 255, 256, 257, tree.N / 2, tree.N - 1, tree.N} {
		if old < 1 || old > tree.N {
			continue
		}
		root, err := tlog.TreeHash(old, reader)
		if err != nil {
			return err
		}
		proof, err := tlog.ProveTree(tree.N, old, reader)
		if err != nil {
			return err
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, old, root); err != nil {
			return fmt.Errorf("consistency from %d: %w", old, err)
		}
	}
	return nil
}

// --- Proofs that we made --------------------------------------------------------------------------

func verifyProof(file, policyFile string) (map[string]any, error) {
	p, err := readPolicy(policyFile)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	head, rest, ok := strings.Cut(string(data), "\n\n")
	lines := strings.Split(head, "\n")
	if !ok || len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" || !strings.HasPrefix(lines[1], "extra ") {
		return nil, errors.New("not a tlog-proof with an extra line")
	}
	leaf, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
	if err != nil {
		return nil, err
	}
	kind, entry, err := entryOf(leaf)
	if err != nil {
		return nil, err
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	if err != nil {
		return nil, err
	}
	proof, err := hashesOf(lines[3:])
	if err != nil {
		return nil, err
	}
	final, err := openCheckpoint([]byte(rest), p)
	if err != nil {
		return nil, err
	}
	if err := tlog.CheckRecord(proof, final.tree.N, final.tree.Hash, index, tlog.RecordHash(entry)); err != nil {
		return nil, err
	}
	return map[string]any{"kind": kind, "index": index, "size": final.tree.N, "cosigners": final.cosigners}, nil
}

// entryOf reads the CBOR array [salt, kind, statement], and gives the kind and the entry of the log.
func entryOf(leaf []byte) (string, []byte, error) {
	if len(leaf) < 1 || leaf[0] != 0x83 {
		return "", nil, errors.New("the leaf is no array of three")
	}
	rest, parts := leaf[1:], [3][]byte{}
	for i, major := range []byte{2, 3, 2} {
		part, left, err := cborString(rest, major)
		if err != nil {
			return "", nil, err
		}
		parts[i], rest = part, left
	}
	if len(rest) != 0 || len(parts[0]) != 16 {
		return "", nil, errors.New("the leaf is malformed")
	}
	sum := sha256.Sum256(bytes.Join([][]byte{parts[0], parts[1], []byte("\n"), parts[2]}, nil))
	return string(parts[1]), sum[:], nil
}

// cborString reads a byte string (major type 2) or a text (3) from the beginning of data (RFC 8949 3.1).
func cborString(data []byte, major byte) (part, rest []byte, err error) {
	if len(data) < 1 || data[0]>>5 != major {
		return nil, nil, errors.New("the leaf has a part of another type")
	}
	length, width := uint64(data[0]&31), 0
	if length >= 24 && length <= 27 {
		width = 1 << (length - 24)
	} else if length > 27 {
		return nil, nil, errors.New("the leaf has a part of no length")
	}
	data = data[1:]
	if width > 0 {
		if len(data) < width {
			return nil, nil, errors.New("the leaf is cut")
		}
		length = 0
		for _, digit := range data[:width] {
			length = length<<8 | uint64(digit)
		}
		data = data[width:]
	}
	if length > uint64(len(data)) {
		return nil, nil, errors.New("the leaf is cut")
	}
	return data[:length], data[length:], nil
}

func hashesOf(texts []string) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(texts))
	for i, text := range texts {
		hash, err := tlog.ParseHash(text)
		if err != nil {
			return nil, err
		}
		found[i] = hash
	}
	return found, nil
}

func verifyConsistency() (map[string]any, error) {
	count := 0
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 {
			return nil, errors.New("a line has fewer than four fields")
		}
		old, err := strconv.ParseInt(fields[0], 10, 64)
		if err != nil {
			return nil, err
		}
		size, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			return nil, err
		}
		roots, err := hashesOf([]string{fields[1], fields[3]})
		if err != nil {
			return nil, err
		}
		proof, err := hashesOf(fields[4:])
		if err != nil {
			return nil, err
		}
		if err := tlog.CheckTree(proof, size, roots[1], old, roots[0]); err != nil {
			return nil, fmt.Errorf("from %d to %d: %w", old, size, err)
		}
		count++
	}
	return map[string]any{"proofs": count}, lines.Err()
}
