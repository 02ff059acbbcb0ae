package transform

import (
	"sync"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/rules"
)

// later is a block that is compiled when it is first needed.
type later struct {
	once  sync.Once
	env   *rules.Env
	block func() *yaml.Node
	made  *Transform
	err   error
}

// Later is the Transform of a block that compiled before, with default Options:
// it is compiled again when it is first applied, so that a start with many
// transforms need not wait for those that no event asks for. block is called once
// at most. If the block does not compile after all, every event fails with that.
func Later(env *rules.Env, block func() *yaml.Node) *Transform {
	return &Transform{later: &later{env: env, block: block}}
}

func (l *later) compiled() (*Transform, error) {
	l.once.Do(func() {
		l.made, l.err = Compile(l.env, l.block())
		l.block = nil
	})
	return l.made, l.err
}
