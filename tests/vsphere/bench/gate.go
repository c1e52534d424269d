package main

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"sync"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// gate stands before the simulator: it notes calls, ends sessions, makes each new machine one of ours, and serves files.
type gate struct {
	inner    http.Handler
	creating sync.Mutex // no new machine is looked at before it is one of ours
	mu       sync.Mutex
	calls    []call
	live     map[string]bool // cookies of sessions
}

type call struct {
	Method string `json:"method"`
	Object string `json:"object"`
}

var method = regexp.MustCompile(`(?s)<(?:\w+:)?Body[^>]*>\s*<(?:\w+:)?(\w+)[^>]*>\s*<(?:\w+:)?_this[^>]*>([^<]*)<`)

// creates are the calls after which there is another machine.
var creates = map[string]bool{
	"CreateVM_Task": true, "RegisterVM_Task": true, "CloneVM_Task": true, "CreateChildVM_Task": true, "ImportVApp": true,
}

func newGate(inner http.Handler) *gate {
	return &gate{inner: inner, live: map[string]bool{}}
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	session := g.session(r)
	if session == "" {
		r.Header.Del("Cookie") // the simulator answers as it does to strangers: NotAuthenticated
	}
	if strings.HasPrefix(r.URL.Path, "/folder/") {
		if session == "" {
			w.WriteHeader(http.StatusUnauthorized)
		} else if r.Method == http.MethodGet || r.Method == http.MethodHead {
			file(w, r)
		} else {
			g.inner.ServeHTTP(w, r)
		}
		return
	}
	if r.Method != http.MethodPost {
		g.inner.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	name := g.note(body)
	answer := httptest.NewRecorder()
	if creates[name] {
		g.create(answer, r, name, body)
	} else {
		g.inner.ServeHTTP(answer, r)
	}
	g.follow(name, session, answer)
	if faults.loses(name) {
		panic(http.ErrAbortHandler) // the connection ends without an answer
	}
	for key, values := range answer.Header() {
		w.Header()[key] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

func (g *gate) create(w http.ResponseWriter, r *http.Request, name string, body []byte) {
	g.creating.Lock()
	defer g.creating.Unlock()
	if name == "RegisterVM_Task" {
		complete(body)
	}
	g.inner.ServeHTTP(w, r)
	for _, entity := range simulator.Map.All("VirtualMachine") {
		if vm, ok := entity.(*simulator.VirtualMachine); ok {
			simulator.Map.Put(newMachine(vm))
		}
	}
}

// complete makes the files that the simulator wants beside a configuration file and that a real server does without.
func complete(body []byte) {
	call, err := simulator.UnmarshalBody(types.TypeFunc(), body)
	if err != nil {
		return
	}
	request := call.Body.(*types.RegisterVM_Task)
	m := machine{}
	m.Config = &types.VirtualMachineConfigInfo{}
	m.Config.Files.VmPathName = request.Path
	if place := m.place(); datastore(place.Datastore) == nil {
		return
	}
	vmx := m.local(".vmx")
	if _, err := os.Stat(vmx); err != nil {
		return
	}
	name := request.Name
	if name == "" {
		name = filepath.Base(filepath.Dir(vmx))
	}
	for _, beside := range []string{name + ".nvram", "vmware.log"} {
		file, err := os.OpenFile(filepath.Join(filepath.Dir(vmx), beside), os.O_CREATE|os.O_RDONLY, 0o600)
		if err != nil {
			log.Print(err)
			continue
		}
		_ = file.Close()
	}
}

// file answers with a file of a datastore.
func file(w http.ResponseWriter, r *http.Request) {
	store := datastore(r.URL.Query().Get("dsName"))
	if store == nil || strings.Trim(r.URL.Query().Get("dcPath"), "/") != "DC0" {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	inside := path.Clean("/" + strings.TrimPrefix(r.URL.Path, "/folder/"))
	found, err := os.Open(filepath.Join(folderOf(store.Self), inside))
	if err != nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	defer found.Close()
	info, err := found.Stat()
	if err != nil || info.IsDir() {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	http.ServeContent(w, r, "", info.ModTime(), found)
}

// session returns the session of a request, or "".
func (g *gate) session(r *http.Request) string {
	cookie, err := r.Cookie(soap.SessionCookieName)
	if err != nil {
		return ""
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.live[cookie.Value] {
		return ""
	}
	return cookie.Value
}

// follow notes the session that an answer begins or ends.
func (g *gate) follow(name, session string, answer *httptest.ResponseRecorder) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, cookie := range answer.Result().Cookies() {
		if cookie.Name == soap.SessionCookieName {
			g.live[cookie.Value] = true
		}
	}
	if name == "Logout" && answer.Code == http.StatusOK {
		delete(g.live, session)
	}
}

// note adds a call to the list and returns its method.
func (g *gate) note(body []byte) string {
	found := method.FindSubmatch(body)
	if found == nil {
		return ""
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls = append(g.calls, call{string(found[1]), string(found[2])})
	return string(found[1])
}

// expire ends all sessions there are.
func (g *gate) expire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.live = map[string]bool{}
}

func (g *gate) sessions() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	found := []string{}
	for cookie := range g.live {
		found = append(found, cookie)
	}
	sort.Strings(found)
	return found
}

func (g *gate) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls = nil
}

func (g *gate) noted() []call {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]call{}, g.calls...)
}
