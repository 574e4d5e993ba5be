// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Seat} from "contracts/services/ServiceBase.sol";

/// The answers to one pending request, in one slot. It exists while the request is pending.
///
/// Answers count for one epoch only. The first answer stands here; as long as all answers are
/// equal nothing else is written. Where they differ, `answer` is 0 and the votes are in `tallies`.
struct Box {
    /// From 1, the place in the pending list; 0: no such request.
    uint16 position;
    uint40 epoch;
    /// Bit i: the server with index i has voted, for indices below 24. The rest is in `tallies`.
    uint24 voters;
    uint8 stage;
    uint8 threshold;
    uint160 answer;
}

/// Facts about one request that its answers do not need.
struct Origin {
    address author;
    uint8 threshold;
    uint40 createdAt;
    /// Differs between all requests of a queue, so that nothing kept under it needs clearing.
    uint48 serial;
}

struct Settings {
    uint96 fee;
    uint16 limit;
    uint16 pending;
    uint48 serial;
}

/// All requests of one service.
///
/// What is kept by position is overwritten by later requests, not cleared: reusing a slot is much
/// cheaper than a new one. Only positions up to `settings.pending` mean anything.
struct Queue {
    Settings settings;
    /// Boxes as single words, see `PendingRequests.box`.
    mapping(bytes32 key => uint256) boxes;
    mapping(uint256 position => bytes32) ids;
    mapping(uint256 position => Origin) origins;
    mapping(uint256 slot => bytes32) words;
    mapping(bytes32 tally => uint256) tallies;
}

error AlreadyPending();
error TooManyPending();
error NotPending();
error NotExpired();
error LimitTooHigh();
error FeeTooHigh();
error FeeNotPaid();

/// What a value in `Queue.tallies` is about.
enum Tally {
    Voters,
    PersonalVoters,
    Votes,
    BestVotes,
    ThresholdVotes,
    BestThresholdVotes,
    AgreedThreshold,
    LeadingAnswer,
    PublicX,
    PublicY,
    Answered,
    AnswersOf,
    Errors
}

// Words of payload that one request can keep, see `Queue.words`.
uint256 constant WORDS = 4;
// Servers whose votes are noted in the box itself.
uint256 constant INLINE_VOTERS = 24;

library PendingRequests {
    // --- settings

    function setFee(Queue storage queue, uint256 fee) internal {
        if (fee > type(uint96).max) revert FeeTooHigh();
        queue.settings.fee = uint96(fee);
    }

    function setLimit(Queue storage queue, uint256 limit) internal {
        if (limit > type(uint16).max) revert LimitTooHigh();
        queue.settings.limit = uint16(limit);
    }

    // --- the pending list

    /// Takes a new request in, with an empty box under `key`.
    function add(Queue storage queue, bytes32 key, bytes32 id, address author, uint8 threshold)
        internal
        returns (uint256 position)
    {
        Settings memory settings = queue.settings;
        if (msg.value < settings.fee) revert FeeNotPaid();
        if (settings.pending >= settings.limit) revert TooManyPending();
        if (queue.boxes[key] != 0) revert AlreadyPending();
        settings.pending += 1;
        settings.serial += 1;
        queue.settings = settings;
        position = settings.pending;
        queue.boxes[key] = position;
        queue.ids[position] = id;
        queue.origins[position] = Origin(author, threshold, uint40(block.number), settings.serial);
    }

    /// Takes a settled request out; the last one takes over its position. `moved` is the position
    /// whose box now has to learn its new one, or 0.
    function remove(Queue storage queue, bytes32 key, uint256 position, uint256 words)
        internal
        returns (uint256 moved)
    {
        queue.boxes[key] = 0;
        uint256 last = queue.settings.pending;
        queue.settings.pending = uint16(last - 1);
        if (position == last) return 0;
        queue.ids[position] = queue.ids[last];
        queue.origins[position] = queue.origins[last];
        for (uint256 i = 0; i < words; ++i) {
            setWord(queue, position, i, word(queue, last, i));
        }
        return position;
    }

    /// Position of the request with this index in the pending list.
    function positionAt(Queue storage queue, uint256 index) internal view returns (uint256) {
        if (index >= queue.settings.pending) revert NotPending();
        return index + 1;
    }

    function word(Queue storage queue, uint256 position, uint256 i) internal view returns (bytes32) {
        return queue.words[position * WORDS + i];
    }

    function setWord(Queue storage queue, uint256 position, uint256 i, bytes32 value) internal {
        queue.words[position * WORDS + i] = value;
    }

    function point(Queue storage queue, uint256 position, uint256 i) internal view returns (bytes memory) {
        return bytes.concat(word(queue, position, i), word(queue, position, i + 1));
    }

    function setPoint(Queue storage queue, uint256 position, uint256 i, bytes calldata value) internal {
        setWord(queue, position, i, bytes32(value[:32]));
        setWord(queue, position, i + 1, bytes32(value[32:]));
    }

    // --- boxes

    /// The box of a request; its position is 0 if there is no such request.
    ///
    /// Packed by hand, because that is cheaper than what the compiler does for a struct.
    function box(Queue storage queue, bytes32 key) internal view returns (Box memory) {
        uint256 packed = queue.boxes[key];
        return Box({
            position: uint16(packed),
            epoch: uint40(packed >> 16),
            voters: uint24(packed >> 56),
            stage: uint8(packed >> 80),
            threshold: uint8(packed >> 88),
            answer: uint160(packed >> 96)
        });
    }

    function setBox(Queue storage queue, bytes32 key, Box memory value) internal {
        queue.boxes[key] = value.position | uint256(value.epoch) << 16 | uint256(value.voters) << 56
            | uint256(value.stage) << 80 | uint256(value.threshold) << 88 | uint256(value.answer) << 96;
    }

    function positionOf(Queue storage queue, bytes32 key) internal view returns (uint256) {
        return uint16(queue.boxes[key]);
    }

    /// Tells the box of a request that it has moved in the list.
    function setPosition(Queue storage queue, bytes32 key, uint256 position) internal {
        queue.boxes[key] = queue.boxes[key] >> 16 << 16 | position;
    }

    // --- votes

    /// Empties the box if its answers are of another epoch.
    function refresh(Box memory ballots, Seat memory seat) internal pure returns (bool emptied) {
        if (ballots.epoch == seat.epoch) return false;
        ballots.epoch = seat.epoch;
        ballots.voters = 0;
        ballots.answer = 0;
        return true;
    }

    /// Notes that this server has voted; false if it had before. The caller stores the box.
    function mark(Queue storage queue, Box memory ballots, Seat memory seat, Tally overflow)
        internal
        returns (bool)
    {
        if (seat.index < INLINE_VOTERS) {
            uint24 bit = uint24(1 << seat.index);
            if (ballots.voters & bit != 0) return false;
            ballots.voters |= bit;
            return true;
        }
        bytes32 key = tallyKey(queue, ballots, overflow, 0);
        uint256 voters = queue.tallies[key];
        if (voters >> seat.index & 1 != 0) return false;
        queue.tallies[key] = voters | 1 << seat.index;
        return true;
    }

    /// Whether this server has voted in this epoch.
    function isMarked(Queue storage queue, Box memory ballots, Seat memory seat, Tally overflow)
        internal
        view
        returns (bool)
    {
        if (ballots.epoch != seat.epoch) return false;
        if (seat.index < INLINE_VOTERS) return ballots.voters >> seat.index & 1 != 0;
        return queue.tallies[tallyKey(queue, ballots, overflow, 0)] >> seat.index & 1 != 0;
    }

    /// How many servers have voted in this epoch.
    function votersCount(Queue storage queue, Box memory ballots, Seat memory seat, Tally overflow)
        internal
        view
        returns (uint256)
    {
        uint256 voters = ballots.voters;
        if (seat.count > INLINE_VOTERS) voters |= queue.tallies[tallyKey(queue, ballots, overflow, 0)];
        return bitCount(voters);
    }

    /// Where a value that belongs to this request and epoch is kept.
    function tallyKey(Queue storage queue, Box memory ballots, Tally tally, uint256 subject)
        internal
        view
        returns (bytes32)
    {
        return keccak256(abi.encode(queue.origins[ballots.position].serial, ballots.epoch, tally, subject));
    }

    /// Number of one-bits, summed up in fields of growing width.
    function bitCount(uint256 x) internal pure returns (uint256) {
        unchecked {
            if (x >> 32 == 0) {
                x -= x >> 1 & 0x55555555;
                x = (x & 0x33333333) + (x >> 2 & 0x33333333);
                x = x + (x >> 4) & 0x0f0f0f0f;
                return (x * 0x01010101 & 0xffffffff) >> 24;
            }
            uint256 count = 0;
            for (; x != 0; x >>= 32) {
                count += bitCount(x & 0xffffffff);
            }
            return count;
        }
    }
}
