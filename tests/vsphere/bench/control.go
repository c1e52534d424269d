package main

import (
	"encoding/json"
	"net/http"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// change is what a test does to a disk behind everybody's back.
type change struct {
	Machine string   `json:"machine"` // moref
	Key     int32    `json:"key"`
	Size    int64    `json:"size"`
	Mode    string   `json:"mode"`
	Sharing string   `json:"sharing"`
	Source  string   `json:"source"`
	Methods []string `json:"methods"`
}

// shown is a machine as it is now.
type shown struct {
	Name      string              `json:"name"`
	Running   map[int32]string    `json:"running"` // device key -> local path of the descriptor
	Snapshots []string            `json:"snapshots"`
	Disabled  map[string][]string `json:"disabled"`
}

// control serves the test: faults, inspection.
func control(g *gate) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/faults", func(w http.ResponseWriter, r *http.Request) {
		var wanted wrong
		decoder := json.NewDecoder(r.Body)
		decoder.DisallowUnknownFields()
		if decoder.Decode(&wanted) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		faults.set(wanted)
	})
	mux.HandleFunc("/expire", func(http.ResponseWriter, *http.Request) { g.expire() })
	mux.HandleFunc("/forget", func(http.ResponseWriter, *http.Request) { g.forget() })
	mux.HandleFunc("/calls", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(g.noted()) })
	mux.HandleFunc("/sessions", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(g.sessions()) })
	mux.HandleFunc("/machines", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(machines()) })
	mux.HandleFunc("/disable", onMachine(func(m *machine, c *change) interface{} {
		m.disable(c.Source, c.Methods)
		return nil
	}))
	mux.HandleFunc("/begin", onMachine(func(m *machine, c *change) interface{} {
		m.writes++
		return m.disks[c.Key].local(m.disks[c.Key].running())
	}))
	mux.HandleFunc("/end", onMachine(func(m *machine, c *change) interface{} {
		m.writes--
		m.idle.Broadcast()
		return nil
	}))
	mux.HandleFunc("/grow", onMachine(func(m *machine, c *change) interface{} {
		m.disks[c.Key].grow(c.Size)
		m.show()
		return nil
	}))
	mux.HandleFunc("/reset", onMachine(func(m *machine, c *change) interface{} {
		m.disks[c.Key].reset()
		m.show()
		return nil
	}))
	mux.HandleFunc("/mode", onMachine(func(m *machine, c *change) interface{} {
		for _, found := range virtualDisks(m.Config.Hardware.Device) {
			if found.Key == c.Key {
				backing := *backingOf(found)
				backing.DiskMode, backing.Sharing = c.Mode, c.Sharing
				found.Backing = &backing
			}
		}
		m.show()
		return nil
	}))
	mux.HandleFunc("/encrypt", onMachine(func(m *machine, c *change) interface{} {
		id := &types.CryptoKeyId{KeyId: "key", ProviderId: &types.KeyProviderId{Id: "provider"}}
		m.Config.KeyId = id
		for _, found := range virtualDisks(m.Config.Hardware.Device) {
			if found.Key == c.Key {
				backing := *backingOf(found)
				backing.KeyId = id
				found.Backing = &backing
			}
		}
		m.show()
		return nil
	}))
	return mux
}

// onMachine does something to a machine, which is locked, or to a disk of it, and answers with what that returns.
func onMachine(act func(*machine, *change) interface{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var wanted change
		if json.NewDecoder(r.Body).Decode(&wanted) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		reference := types.ManagedObjectReference{Type: "VirtualMachine", Value: wanted.Machine}
		m, ok := simulator.Map.Get(reference).(*machine)
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		m.Lock()
		defer m.Unlock()
		if m.disks[wanted.Key] == nil {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_ = json.NewEncoder(w).Encode(act(m, &wanted))
	}
}

func machines() map[string]shown {
	found := map[string]shown{}
	for _, entity := range simulator.Map.All("VirtualMachine") {
		m, ok := entity.(*machine)
		if !ok {
			continue
		}
		one := shown{Name: m.Name, Running: map[int32]string{}, Snapshots: []string{}}
		m.Lock()
		for key, d := range m.disks {
			one.Running[key] = d.local(d.running())
		}
		for _, s := range m.snapshots {
			one.Snapshots = append(one.Snapshots, s.Self.Value)
		}
		one.Disabled = m.locks
		m.Unlock()
		found[m.Self.Value] = one
	}
	return found
}
