// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {EcdsaSignature} from "contracts/signatures/EcdsaSignature.sol";

/// An example for clients: an account that does what its server key has signed.
///
/// The owner is the address of a server key, which no single machine holds. Whoever has the network's
/// ECDSA signature of `hashOfCall` may hand the call in. The hash is that of typed data (EIP-712): it
/// names this account, its chain and the number of the call, so nothing can be executed twice or
/// elsewhere, and it can be no hash of a transaction. It also says how much gas the target gets: a
/// contract that goes on when a call of its own fails would else do less for those who bring little.
contract ServerKeyAccount {
    event Executed(uint256 indexed nonce, address indexed target, uint256 value, bytes data);

    error NoServerKey();
    error NotSignedByServerKey();
    error TooLittleGas();
    error CallFailed(bytes reason);

    bytes32 private constant DOMAIN_TYPE =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant CALL_TYPE =
        keccak256("Call(address target,uint256 value,bytes data,uint256 gasLimit,uint256 nonce)");
    bytes32 private constant NAME = keccak256("ServerKeyAccount");
    bytes32 private constant VERSION = keccak256("1");
    /// More gas than a call takes by itself before the target's share is reckoned: 2,600 for an address,
    /// as much for one it delegates to, 9,000 for ether, 25,000 for a new account, and the steps up to it.
    uint256 private constant CALL_COST = 40_000;

    /// The address of the server key: the last 20 bytes of the keccak-256 hash of its public.
    address public immutable serverKey;
    /// How many calls have been executed, and the number of the next one.
    uint256 public nonce;

    constructor(address serverKeyAddress) {
        if (serverKeyAddress == address(0)) revert NoServerKey();
        serverKey = serverKeyAddress;
    }

    receive() external payable {}

    /// Executes the next call, for anybody who has its signature, and gives back what it returned.
    ///
    /// The target gets `gasLimit`, never less or more (and the 2,300 that come with ether), whoever hands
    /// the call in. A call that fails changes nothing and stays signed; it is void once another call with
    /// the same number is executed.
    function execute(
        address target,
        uint256 value,
        bytes calldata data,
        uint256 gasLimit,
        bytes calldata signature
    ) external returns (bytes memory) {
        bytes32 signedHash = hashOfCall(target, value, data, gasLimit);
        if (!EcdsaSignature.isBy(serverKey, signedHash, signature)) revert NotSignedByServerKey();
        emit Executed(nonce, target, value, data);
        nonce += 1;
        (bool succeeded, bytes memory result) = _call(target, value, data, gasLimit);
        if (!succeeded) revert CallFailed(result);
        return result;
    }

    /// What the server key has to sign to let this be the next call.
    function hashOfCall(address target, uint256 value, bytes calldata data, uint256 gasLimit)
        public
        view
        returns (bytes32)
    {
        bytes32 domain =
            keccak256(abi.encode(DOMAIN_TYPE, NAME, VERSION, block.chainid, address(this)));
        bytes32 call =
            keccak256(abi.encode(CALL_TYPE, target, value, keccak256(data), gasLimit, nonce));
        return keccak256(abi.encodePacked(hex"1901", domain, call));
    }

    /// Calls with exactly that much gas, or reverts.
    ///
    /// All but a 64th of what is left may be passed on (EIP-150), and where more is asked for, that is
    /// passed on without a word. Written in assembly because Solidity would copy the data, at a price
    /// that grows with it, between the check and the call.
    function _call(address target, uint256 value, bytes memory data, uint256 gasLimit)
        private
        returns (bool succeeded, bytes memory result)
    {
        uint256 left = gasleft();
        if (left < CALL_COST || (left - CALL_COST) * 63 / 64 < gasLimit) revert TooLittleGas();
        assembly ("memory-safe") {
            succeeded := call(gasLimit, target, value, add(data, 32), mload(data), 0, 0)
            result := mload(0x40)
            mstore(0x40, add(result, and(add(returndatasize(), 63), not(31))))
            mstore(result, returndatasize())
            returndatacopy(add(result, 32), 0, returndatasize())
        }
    }
}
